"""Cloud Run: services and revisions, the containers behind them, and the front end that routes to them."""
