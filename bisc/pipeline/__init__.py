"""The use cases, for commands and Python alike: download, plan, train, predict, measure, evaluate, report, demo."""
