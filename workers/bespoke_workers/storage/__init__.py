"""Files of JSON lines under the storage URL, written whole and read with limits."""
