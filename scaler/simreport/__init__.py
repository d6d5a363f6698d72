"""What simulations came to, for people and programs: table, JSON, a page with charts, assertions, replays."""
