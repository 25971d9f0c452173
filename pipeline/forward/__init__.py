"""forward: alerts to the places where people already look, each destination at its own pace."""
