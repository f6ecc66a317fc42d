"""A Celery application with pytest-celery's own tasks; its URLs come from CELERY_* variables."""

from celery import Celery, signals

from bespoke_workers.orphans import parent

app = Celery("tiny", include=["pytest_celery.vendors.worker.tasks"])
app.conf.task_acks_late = True
signals.worker_init.connect(parent.remember)
signals.worker_process_init.connect(parent.follow)
