"""Receivers on loopback for trying out deliveries: a plan asks for them by its key `receivers`, embedded mode only.

They record what arrives, up to limits, and answer as a real receiver would. `local.LocalReceivers` starts and stops
them.
"""
