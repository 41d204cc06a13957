"""The same LeNet-5 in PyTorch, as a user would write it: python plain_torch.py DATA.npz EPOCHS BATCH THREADS [norms]

With `norms`, the gradient norm of every layer is kept at every step.
"""

import sys

import numpy as np
import torch
from torch import nn

path, epochs, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with_norms = sys.argv[5:] == ["norms"]
torch.set_num_threads(threads)
torch.manual_seed(0)
with np.load(path) as data:
    x, y, x_val, y_val = (torch.from_numpy(data[name]) for name in ("x_train", "y_train", "x_val", "y_val"))
x, x_val = (images.permute(0, 3, 1, 2).float() for images in (x, x_val))
y, y_val = y.long(), y_val.long()
channels, height, width = x.shape[1:]
model = nn.Sequential(
    nn.Conv2d(channels, 6, 5, padding="same"),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(6, 16, 5, padding="same"),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 120, 5, padding="same"),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(120 * (height // 4) * (width // 4), 84),
    nn.ReLU(),
    nn.Linear(84, 10),
)
layers = [layer for layer in model if hasattr(layer, "weight")]
optimizer = torch.optim.Adam(model.parameters())
loss_of = nn.CrossEntropyLoss()
norms = []
for epoch in range(epochs):
    model.train()
    total = 0.0
    for chosen in torch.randperm(len(x)).split(batch):
        optimizer.zero_grad()
        loss = loss_of(model(x[chosen]), y[chosen])
        loss.backward()
        if with_norms:
            norms.append(torch.stack([nn.utils.get_total_norm([layer.weight.grad, layer.bias.grad]) for layer in layers]))
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
    model.eval()
    with torch.no_grad():
        right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in zip(x_val.split(batch), y_val.split(batch), strict=True))
    print(f"epoch {epoch + 1}/{epochs}  loss {total / len(x):.4f} val_accuracy {right / len(x_val):.4f}", flush=True)
