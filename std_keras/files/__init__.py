"""Files as people have them: paths, texts, pictures, and archives from strangers."""
