"""Using a base without changing it: requests in text, answers as they are written, stop strings, chat templates."""
