"""From a camera, or a folder that fills, to the server, through outages and kills: every frame accounted for."""
