"""Cloud Storage: the methods that `gcloud builds submit` and build logs need."""
