"""gesso turns semantic layouts into photographs: pix2pix, pix2pixHD and SPADE in one small house."""
