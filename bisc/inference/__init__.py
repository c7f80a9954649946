"""The cascade at prediction: model files, sliding, rough, fine, decision, folders of cases."""
