from partlib.data import load_dataset


def load(name, split, root=None, image_size=128, **options):
    return load_dataset(name, split, root, image_size, **options)
