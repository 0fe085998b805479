"""A running lab in tests: who has it up, what a test can do with it, and what a failing test tells of it."""
