"""The commands, one module each: a parser and one call of a typed function."""

#: Each is a module here, with ``main(argv, prog)``; modules load when they are called.
COMMANDS = {
    'train': 'train the model of a config',
    'finetune': 'train on your own pictures, in any of five layouts',
    'test': 'evaluate a checkpoint',
    'demo': 'predict on pictures, folders and videos',
    'export': 'write a network to a file that runs without OpenMMLab',
    'reproduce': "measure the paper's tables on this machine",
    'scores': 'train and score on Imagenette, CamVid and BCCD',
    'analyze': 'look inside a backbone: spectra, receptive fields, features, activations',
    'convert': 'turn a released checkpoint into one of this project, or back',
    'publish': 'write the weights of a checkpoint alone, in a quarter of their size',
    'collect': 'make a table of finished trainings',
    'cost': 'what a training costs on other numbers of GPUs',
    'benchmark': 'time the scan, or whole networks',
    'metafiles': 'compute what metafiles say of the configs',
    'check': 'kill and resume a training, or repeat one, and compare',
    'doctor': 'check the installation: packages, torch and CUDA, compiled operators, the scan',
}
