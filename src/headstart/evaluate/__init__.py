"""Evidence: metrics, intervals, paired tests, calibration, controls, label curves -> Report (terminal, JSON, HTML)."""
