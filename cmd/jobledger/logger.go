package main

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger writes to stderr. quietly is the level without --log-level: commands
// warn, servers and workers inform. console is for people, json for machines;
// the field names are a contract (INTERFACE 6).
func (p *program) logger(quietly zapcore.Level) *zap.Logger {
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.MessageKey = "time", "msg"
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if p.flags.LogFormat.Value != "json" {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	var level zapcore.LevelEnabler = p.logLevel(quietly)
	if p.level != nil {
		level = p.level
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(p.Stderr)), level))
}

// logLevel is the level that the flags say, or else quietly.
func (p *program) logLevel(quietly zapcore.Level) zapcore.Level {
	if p.flags.Trace {
		return zapcore.DebugLevel
	}
	if name := p.flags.LogLevelName.Value; name != "" {
		quietly, _ = zapcore.ParseLevel(name) // checked
	}
	return quietly
}
