"""Small models: from an entry of the lists to a torch module with seeded weights."""
