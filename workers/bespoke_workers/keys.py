"""The names under which Redis holds what the transport writes there; known without loading it."""

UNACKED = "bespoke.unacked"
"""The hash of the messages that are in workers' hands."""
MEMBERS = "bespoke.members"
"""The sorted set of the workers among which the shards of memories are divided."""
UNREADABLE = ".unreadable"
"""What the names of lists end in that hold what cannot be decoded."""
