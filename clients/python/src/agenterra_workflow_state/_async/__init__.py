"""The asyncio client. What is here, io.py excepted, is also the source of the blocking one: see scripts/generate.py."""
