// What are LoRA and ControlNet?

export const words = {
  en: {
    "addons.text": "A LoRA is a small correction to a large model: to a weight matrix W it adds the product of two thin ones, scale · B·A. Only these are trained, on a few pictures of a style or a subject; the file has megabytes, the model gigabytes. This service can fuse one into a model that you add (sfumato models add --lora), but does not load it with a request yet.\nA ControlNet is a second network, which reads a second picture: edges, depth, a pose. It starts as a copy of the UNet's encoding half and adds what it finds to the UNet's own features at every step. The prompt says what, the picture where. This service does not load ControlNets yet.",
    "addons.notice": "At rank 8, a LoRA of a 1024 × 1024 matrix has 16,384 numbers instead of 1,048,576. A ControlNet for Stable Diffusion 1.5 has 361 million, the UNet 860 million.",
  },
  zh: {
    "addons.text": "LoRA 是对大模型的小修正：在权重矩阵 W 上加两个细长矩阵之积，系数 · B·A。训练的只有这两个，用某种风格或某个对象的几张图片即可；模型几个 GB，它只有几 MB。本服务可以把它融进你添加的模型（sfumato models add --lora），还不能随请求加载。\nControlNet 是第二个网络，读第二张图：边缘、深度、姿态。它起初是 UNet 编码半边的副本，每一步把读到的加到 UNet 自己的特征上。提示词说画什么，这张图说画在哪里。本服务还不能加载 ControlNet。",
    "addons.notice": "秩为 8 时，1024 × 1024 矩阵的 LoRA 只有 16,384 个数，而不是 1,048,576 个。Stable Diffusion 1.5 的 ControlNet 有 3.61 亿个，UNet 有 8.6 亿个。",
  },
};

export const draws = false;
