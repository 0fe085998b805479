"""What the author wrote: the topology, validated and frozen."""
