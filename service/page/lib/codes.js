// What the service says by code, in Chinese; in English its own words are shown.

import { register } from "./words.js";

register({
  en: {},
  zh: {
    "code.backlog_full": "队列已满。",
    "code.newer_version": "服务正在升级。",
    "code.no_model": "还没有可用的模型。",
    "code.not_durable": "任务还不能可靠保存。",
    "code.quota_exceeded": "您的任务已达上限。",
    "code.rate_limited": "请求过于频繁。",
    "code.store_evicts": "存储的设置有误，任务可能丢失。",
    "code.store_full": "存储已满。",
    "code.store_unavailable": "存储暂时不可用，已接受的任务不会丢失。",
    "code.too_many_connections": "服务的连接已满。",
    "code.too_many_listeners": "同时打开的连接过多。",
    "code.worker_silent": "工作进程没有响应。",

    "code.content_filtered": "图片未通过模型的安全检查",
    "code.internal": "服务内部错误",
    "code.invalid_request": "模型无法处理这个请求",
    "code.non_finite": "计算结果不是有限的数",
    "code.out_of_memory": "设备内存不足",
    "code.worker_died": "处理它的进程多次中断",

    "code.content_blurred": "图片未通过模型的安全检查，已模糊处理",
    "code.eta_ignored": "只有一步时不加噪声，η 不起作用",
    "code.guidance_rescale_ignored": "没有引导，引导重缩放不起作用",
    "code.guidance_scale_ignored": "这个模型不用引导强度，设定不起作用",
    "code.negative_prompt_ignored": "反向提示词不起作用",
    "code.negative_prompt_truncated": "反向提示词过长，已截断",
    "code.num_inference_steps_lowered": "默认步数超出上限，已调低",
    "code.preview_ignored": "预览设定不起作用",
    "code.prompt_ignored": "这个模型不用提示词，提示词不起作用",
    "code.prompt_truncated": "提示词过长，已截断",
    "code.prompt_weight_limited": "提示词中有权重达到或超出上限",
    "code.schedule_ignored": "只有一步时噪声最大，噪声间隔不起作用",
    "code.started_over": "先前的进度来自另一版本，已从头重画",
  },
});
