"""What several backends share; a folder with an underscore is no backend."""
