#!/bin/sh
# Spark 4: dynamic allocation, with pod templates. Two executors are admitted with the driver and their room
# is held; up to eight more come from free room while the application runs.
#
#   K8S_MASTER=k8s://https://HOST:PORT IMAGE=... NAMESPACE=... ./spark-submit-4.sh
set -eu
here=$(dirname "$0")
exec "${SPARK_HOME:?set SPARK_HOME to a Spark 4 installation}/bin/spark-submit" \
  --master "${K8S_MASTER:?set K8S_MASTER, such as k8s://https://HOST:PORT}" \
  --deploy-mode cluster \
  --name spark-pi \
  --class org.apache.spark.examples.SparkPi \
  --conf spark.kubernetes.driver.podTemplateFile="$here/driver-template.yaml" \
  --conf spark.kubernetes.executor.podTemplateFile="$here/executor-template.yaml" \
  --conf spark.kubernetes.namespace="${NAMESPACE:-default}" \
  --conf spark.kubernetes.authenticate.driver.serviceAccountName="${SERVICE_ACCOUNT:-spark}" \
  --conf spark.kubernetes.container.image="${IMAGE:?set IMAGE to a Spark 4 image}" \
  --conf spark.dynamicAllocation.enabled=true \
  --conf spark.dynamicAllocation.shuffleTracking.enabled=true \
  --conf spark.dynamicAllocation.minExecutors=2 \
  --conf spark.dynamicAllocation.maxExecutors=10 \
  --conf spark.executor.cores=2 \
  --conf spark.executor.memory=4g \
  "local:///opt/spark/examples/jars/${EXAMPLES_JAR:?set EXAMPLES_JAR to the name of the examples jar in the image}" 1000
