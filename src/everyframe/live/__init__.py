"""What a live run tells the world outside. `sinks`: where alerts go."""
