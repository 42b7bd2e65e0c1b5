"""Checksums of the published split lists (DCAMA and HSNet use the same ones). The lists themselves are not shipped."""

# Text lists: SHA-256 of the file with LF line ends. COCO: SHA-256 of the lines "<class> <name>" of the dictionary, so
# that the pickle and any rewriting of it count as the same list.
OFFICIAL_LISTS = {
    ('pascal', 'trn/fold0'): '40fded8be6afbc4b70953277f2a178af8055cddd4e73fb4646b7bf19704b9da2',
    ('pascal', 'trn/fold1'): '558167c3c6fea0cda1bb7c7a275e66d5de7bc13cbc97e00c5872ac84d5f0954e',
    ('pascal', 'trn/fold2'): 'd07e35f4a4ae95774c619bafb57d65d682dbd5b9f33c7f71a4f5cef8e3f99609',
    ('pascal', 'trn/fold3'): 'ffe09100c0c4d9c19d074a33b0f29fe5a89a730579ba39a9f9e908186298ac17',
    ('pascal', 'val/fold0'): '748e2f4732ac502cb3aa1f3768936b394bd7ba4e611ac5bf959291a268e249df',
    ('pascal', 'val/fold1'): 'afce1929e4dacbc13c07f9a26d4ce7738d415e1b18443fe173e58303836f5c14',
    ('pascal', 'val/fold2'): '50b1f5218e8f882ca65d85da5be230b978a70067e9b3e0e9fca1528f546bd7fb',
    ('pascal', 'val/fold3'): 'c3825d7c52d1608d4c62c5b85d6ef3f74cf5898032bc068a94c971df17bdf71a',
    ('coco', 'trn/fold0'): 'e4b4772210a855ee498b09bf3f2a055f9a8a0a083c6bdd93f28dba9625e79fc3',
    ('coco', 'trn/fold1'): '52596b9667b246027faef6b17cbb18295fcb33f6cbec4a73fbb5b17ab980ad5b',
    ('coco', 'trn/fold2'): '7e04d1b3d1a2284e0a397d9f8405f1a09c957f60ab26d9528c0e593f62c0f734',
    ('coco', 'trn/fold3'): '9da2242e23493b3b536b4a1d89f0f1240d454e7a0bed881943f11da42ea99325',
    ('coco', 'val/fold0'): '15df8fb0e007282683fb6d4d0720710e95e896ff190339addd00173718da4a24',
    ('coco', 'val/fold1'): '60baf20ddbdfe8390c18e6466f87ce3e896253ee0d5ea377b8d35c6b5504c356',
    ('coco', 'val/fold2'): '5e85f1d94fdf5cb4efc66e3e06cba3e2d74f78e7e945377b53967719509fcfe6',
    ('coco', 'val/fold3'): 'f1cb334029478149c32198e0f2573c3f9555116204d34e58169112920beae77c',
    ('fss', 'trn'): '815bce03f2502719ba3bd9c1f79111b74ec8ab63e6111830ff7312de49b1cf17',
    ('fss', 'val'): '9cac02c58602f2789b4e6393200e450e3ba1edae6673d6a87ae2063d0c547aee',
    ('fss', 'test'): '81831fe6993ce88a98eb962e1b0b6fcb4f6304e681673b193ff2823d4b3614b5',
}
