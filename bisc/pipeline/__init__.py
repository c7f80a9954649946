"""The use cases, for commands and Python alike: download, plan, train, validate, predict, measure, evaluate, compare, report, demo."""
