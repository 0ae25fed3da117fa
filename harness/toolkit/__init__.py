"""What backends and every wing may use: seeded values, numerics, cache, files, names."""
