"""Cloud Storage, as far as `gcloud builds submit` needs it."""
