"""Finding crosses and proving their gain. No torch, but where a trained run is asked what it knows already."""
