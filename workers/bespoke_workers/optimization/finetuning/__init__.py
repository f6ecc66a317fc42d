"""Fine-tuning: a model of a user's own, trained by a provider, for one version of one program."""
