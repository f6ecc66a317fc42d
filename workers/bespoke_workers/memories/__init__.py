"""What users said: stored, kept free of duplicates, compacted and searched."""
