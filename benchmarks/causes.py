"""Which causes are right for which simulated fault, in the words of ``bin_scores``."""

CAUSES: dict[str, frozenset[str]] = {
    "air": frozenset({"air"}),
    "focus_loss": frozenset({"sheath_flow"}),
    "flow_speed_shift": frozenset({"sheath_flow"}),
    "laser_misalignment": frozenset({"laser"}),
    "camera_tilt": frozenset({"alignment"}),
    "drift_in_run": frozenset({"sheath_flow"}),
    "out_of_focus": frozenset({"focus"}),
    "stuck_roi": frozenset({"stain"}),
    "clog": frozenset({"clog"}),
    "incomplete_run": frozenset({"incomplete_run"}),
    "empty_bin": frozenset({"empty"}),
    "blind_triggers": frozenset({"electronics", "laser"}),
    "noise_trigger": frozenset({"electronics"}),
    "edge_clipping": frozenset({"electronics"}),
    "volume_error": frozenset({"volume"}),
    "leak": frozenset({"leak"}),
    "overheating": frozenset({"overheating"}),
    "corrupt_adc": frozenset({"corrupt"}),
    "truncated_adc": frozenset({"corrupt"}),
    "missing_hdr": frozenset({"corrupt"}),
    "clock_jump": frozenset({"corrupt", "electronics"}),
    "bead_run": frozenset({"beads"}),
    "bloom": frozenset({"bloom"}),
    "detritus": frozenset({"bloom"}),
    "post_clean": frozenset({"post_clean"}),
    "config_change": frozenset({"config_change"}),
}

#: Runs that hardly have a cloud: they must be ranked all the same, and for the right reason.
FEW_POINTS = ("empty_bin", "incomplete_run")
