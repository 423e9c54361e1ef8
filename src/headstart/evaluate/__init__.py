"""Evidence: metrics, intervals, paired tests, calibration, controls, label curves, suites -> reports."""
