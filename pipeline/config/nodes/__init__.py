"""The nodes of the configuration, by what they are about; `pipeline.config.schema` puts them together."""
