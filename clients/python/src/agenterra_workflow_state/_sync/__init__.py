"""The blocking client: generated from the asyncio one, io.py excepted."""
