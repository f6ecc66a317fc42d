"""A Celery application with pytest-celery's own tasks; its URLs come from CELERY_* variables."""

from celery import Celery

app = Celery("tiny", include=["pytest_celery.vendors.worker.tasks"])
app.conf.task_acks_late = True
