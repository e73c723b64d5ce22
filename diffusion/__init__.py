"""The science: schedules, samplers, denoiser, UNet and backends."""
