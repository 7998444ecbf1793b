"""Any other network: run by transformers, traced by Optimum, written with the precisions here."""
