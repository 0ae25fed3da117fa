"""Repositories of the Hugging Face hub, through `huggingface_hub`: files, download, errors."""
