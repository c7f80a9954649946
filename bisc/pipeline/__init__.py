"""The use cases, for commands and Python alike: plan, train, validate, predict, evaluate, demo."""
