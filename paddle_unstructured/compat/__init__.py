"""Other systems' words, turned into parts: PaddleSlim's arguments, NNI's config lists."""
