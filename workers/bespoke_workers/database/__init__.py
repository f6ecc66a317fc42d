"""PostgreSQL: the tables, the engine, the migrations and the rule that a job takes effect once."""
