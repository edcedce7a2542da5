"""Who lives and dies together: the channels of all layers through one Program."""
