"""What the comparisons with PaddleSlim share: its environment, the trainer that runs under both, the plan, the tables."""
