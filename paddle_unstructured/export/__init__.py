"""What leaves the house: models without masks, checked; small files; fast ones."""
