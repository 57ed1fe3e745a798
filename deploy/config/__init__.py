"""The reviewed first state of the registry, and the rights of the story.

`bootstrap.json` is loaded by the registry on its very first start; its services are written from the departments'
declarations by `python -m deploy.config.services`. `rights.json` holds documents that the members sign themselves.
"""
