"""Files, read and written without Paddle: Paddle's own, checked safetensors, YAML; whole or not there."""
