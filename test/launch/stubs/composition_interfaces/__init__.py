"""Service types that launch_ros imports and no wheel brings; they are never sent."""
