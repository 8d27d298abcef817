"""What lies on disks: files that are whole or not there, one writer at a time, and checks of what others wrote.

Every folder and file that this library writes goes through here. In the order to read them:

    files         written aside, then renamed: whole or not there
    locks         one process at a time in a folder
    outputs       what may be written over, told by its content
    descriptions  JSON to the types that the code expects
    tree_store    named arrays with a description and a digest, in one safetensors file
    model_trees   which arrays a mixture has, and what values they can take
    wheels        files fetched from the package registry into the user's cache

Only `model_trees` knows of the model; the others know of neither models nor features. Formats stand where they are
used: models in `persist.py`, checkpoints in `inference/checkpoint.py`, features in `features/store.py`.
"""
