"""Writes a trained ranking model as a folder that serves without this package.

scorer.py      what is computed: from events to scores and top items
signature.py   what goes in and comes out, as `signature.json`
torch.py       `model.pt2`, a torch.export program
onnx.py        `model.onnx`
folder.py      the folder: model, signature, items, model card
"""
