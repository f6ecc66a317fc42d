"""All that there is of one user: exported, imported, erased."""
